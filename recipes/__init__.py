"""How the models that ship with rsdecode are made."""
