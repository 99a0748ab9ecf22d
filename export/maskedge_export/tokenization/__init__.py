"""A checkpoint's tokenizer: its files -> one tokenizer.json that reads text as the model was trained to."""
