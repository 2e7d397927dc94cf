"""The record of every notification: accept, claim, finish, sweep; and those who read it."""
