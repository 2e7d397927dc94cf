"""What people type. ``send.py`` declares what can be typed, ``sending.py`` does it; others are shared by several."""
