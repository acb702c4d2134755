"""How robust is an image classifier really, and can that number be believed?"""
