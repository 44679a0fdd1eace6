"""What deploy/services/record_traces.py records: a module a program, and what they share."""
