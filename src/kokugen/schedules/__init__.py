"""The schedules of a scheduler: how they are declared and drafted, decided about, put into the store and asked about.

`decision` and `edits` are arithmetic on rows, by the triggers of `recurrence`; `book` and `materialiser` have the store
carry them out, and `agenda` is what the two faces make of all of it.
"""
