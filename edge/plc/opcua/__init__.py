"""The OPC UA bridge."""
