"""How many replicas of each model a load needs: a short real run, then a simulation of many."""
