"""Tokenizers, chat templates, detokenising: from messages to token ids and back to text."""
