"""What rsdecode claims about speed, each a command. Ratios are measured within one run."""
