"""What each attention head does, over a corpus."""
