"""Pictures that a host hands over."""
