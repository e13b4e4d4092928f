"""One run over one source for `onlooker watch`: its threads, what it prints and writes, and measuring it."""
