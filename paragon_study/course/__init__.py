"""The course: lab, control room, exercises, your own data."""
