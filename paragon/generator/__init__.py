"""The diffusion model that makes adapters from preference weights: chapter 4."""
