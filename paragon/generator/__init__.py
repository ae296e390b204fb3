"""The generator, from preference weights to adapters: chapter 4."""
