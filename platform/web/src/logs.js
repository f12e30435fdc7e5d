// The live logs of a function.
