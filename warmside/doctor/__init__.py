"""`warmside check`: examines a set-up, and says what is wrong and how to correct it."""
