"""tiny world"""
