"""Does not parse."""

def build(:
    return {}
