"""The command `rsd`: one file per command."""
