"""Words that somebody else wrote, made fit for a terminal, a file and a page."""

MAX_TEXT = 500


def plain_text(text: str) -> str:
    """The text, cut at 500 characters, with `?` for what cannot be printed or encoded."""
    text = text[:MAX_TEXT]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text)
