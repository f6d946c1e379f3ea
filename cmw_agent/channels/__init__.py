"""The ways to an agent beside the page: REST, websites, WhatsApp."""
