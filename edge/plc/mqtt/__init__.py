"""The MQTT bridge."""
