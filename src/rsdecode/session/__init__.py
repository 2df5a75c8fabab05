"""Runs decoding methods: answers their requests and keeps many problems in flight."""
