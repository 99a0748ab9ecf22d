"""What the scores say: statistics, and reports of them."""
