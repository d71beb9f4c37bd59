"""What is learnt from images: features, prototypes, thresholds, precision, figures."""
