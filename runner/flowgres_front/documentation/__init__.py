"""What the front tells of the API to people, tools and models: OpenAPI 3.1, Swagger UI, llms.txt, mcp.json."""
