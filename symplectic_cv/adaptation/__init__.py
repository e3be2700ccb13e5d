"""The adaptive loop: which frames a round learns from, how far it got, when to stop."""
