"""Small speech models on the Hugging Face stack: a recipe goes in, a published model comes out."""
