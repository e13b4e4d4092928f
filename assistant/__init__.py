"""The assistant: captures, watches through the model, and speaks. Imports `model`, never `train`."""
