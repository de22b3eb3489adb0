"""Differential campaigns: many guests, the same on several engines and in the model; what disagrees is made small.

    generate (a seed and a number give a specimen)  ->  explore (run, compare)  ->  shrink  ->  folder (what stays)

Work is idempotent: a chunk of numbers gives the same findings wherever and however often it runs.
"""
