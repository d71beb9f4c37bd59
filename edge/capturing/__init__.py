"""Pictures of good parts, from the camera that will inspect them."""
