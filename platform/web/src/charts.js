// The charts of a function.
