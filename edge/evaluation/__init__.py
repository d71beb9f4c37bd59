"""What a bundle is worth: quality and speed."""
