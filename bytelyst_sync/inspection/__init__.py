"""Inspects a store from outside: numbers, the process that delivers, faults. Changes nothing."""
