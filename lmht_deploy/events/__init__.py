"""Events: one event array, one window rule, and what they come from (data sets, recordings, live sources, the emulator).

arrays      the event array, checked once at the door
windows     events -> integer count frames, under one rule
files       windows and labels as `.npz`: the plain way to bring data
recordings  event files of every common format
datasets    data sets by name, as windows and labels; their sources: digits, tonic_sets, folders
dvs         the emulator of a dynamic vision sensor
extension   the compiled part: the door's check, the counting of events, the emulated pixels (core/)
"""
