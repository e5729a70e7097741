"""How the demo's two small translators were made. Not used by any experiment's stages."""
