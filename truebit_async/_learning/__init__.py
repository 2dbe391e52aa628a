"""What a `LearnedWait` learns, and how it plans."""
