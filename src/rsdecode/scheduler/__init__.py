"""Drivers: they run methods, answer their requests and keep many problems in flight."""
