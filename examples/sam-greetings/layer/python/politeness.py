def polite(word: str, name: str) -> str:
    return f"{word}, dear {name}!"
