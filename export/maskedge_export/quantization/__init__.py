"""fp32 graphs -> graphs of fewer bits."""
