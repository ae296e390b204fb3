"""For people: the lab, the control room, exercises, data of your own."""
