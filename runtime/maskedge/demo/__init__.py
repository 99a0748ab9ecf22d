"""`mlm demo`: a page to play with a model in a browser, and all that needs Gradio. It prints nothing."""
