"""The bytes of an image file become pixels: what is asked first, and who decodes which kind."""
