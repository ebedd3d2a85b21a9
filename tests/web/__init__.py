"""The engine in a browser and in Node.js."""
