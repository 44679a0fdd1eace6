"""From a store to the spans of one trace after another: once all is there, grouped, by processes side by side."""
