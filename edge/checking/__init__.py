"""What good images are worth before anything is learnt from them."""
