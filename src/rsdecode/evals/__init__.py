"""Running methods over problems, and what comes out: accuracy, cost, tables and pictures."""
