"""An inspector is corrected: parts that it judged wrongly, and what a correction changes."""
