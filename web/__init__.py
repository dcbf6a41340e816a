"""The HTTP side: storage events in, the job API, the page."""
