"""An OpenAI-compatible server: RSD for clients that know nothing of it (`rsd serve`)."""
