"""Images and videos from disks."""
