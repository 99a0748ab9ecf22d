"""What is read: files and what they hold."""
